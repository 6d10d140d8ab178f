//! `docs/isa.md` says what the table says.

#[test]
fn instruction_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/isa.md");
    let made = msd_ascend::reference::markdown();
    if std::env::var_os("MSD_BLESS").is_some() {
        std::fs::write(path, &made).expect("docs/isa.md can be written");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "docs/isa.md is out of date: run this test with MSD_BLESS=1 and review the change");
}
