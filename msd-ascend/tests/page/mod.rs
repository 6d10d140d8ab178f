//! The page on the NPU, parts of which are written by tests of two crates.

use std::path::Path;

/// docs/npu-model.md says so between its marks.
pub(crate) fn check_page(mark: &str, text: &str) {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = above.map(|directory| directory.join("docs/npu-model.md")).find(|path| path.exists());
    let path = path.expect("the page is there");
    let page = std::fs::read_to_string(&path).expect("the page can be read");
    let (open, close) = (format!("<!-- {mark}: written by a test -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = page.split_once(&open).expect("the page has the mark");
    let (kept, after) = rest.split_once(&close).expect("the mark ends");
    if std::env::var_os("MSD_BLESS").is_some() {
        std::fs::write(path, format!("{before}{open}{text}{close}{after}")).expect("the page can be written");
    } else {
        assert!(kept == text, "docs/npu-model.md is out of date: run this test with MSD_BLESS=1 and review the change");
    }
}
