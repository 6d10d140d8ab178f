// expect: E0107 1:1
// nothing but a comment
