//! `docs/ops.md` says what the tables say.

#[test]
fn op_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ops.md");
    let made = msd::ir::reference::markdown();
    if std::env::var_os("MSD_BLESS").is_some() {
        std::fs::write(path, &made).expect("docs/ops.md can be written");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "docs/ops.md is out of date: run this test with MSD_BLESS=1 and review the change");
}
