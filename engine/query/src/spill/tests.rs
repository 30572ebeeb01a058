use std::fs;

use super::SpillFolder;

#[test]
fn what_nobody_holds_is_deleted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let mine = SpillFolder::make(&spill).unwrap();
    fs::write(mine.path().join("rows"), "held").unwrap();
    let left = spill.join("process-of-one-that-was-killed");
    fs::create_dir_all(left.join("datafusion-x")).unwrap();
    fs::write(left.join("datafusion-x/rows"), "left").unwrap();
    fs::create_dir(spill.join("somebody-elses")).unwrap();

    let other = SpillFolder::make(&spill).unwrap();
    assert!(!left.exists());
    assert!(mine.path().join("rows").exists());
    assert!(spill.join("somebody-elses").exists());

    let path = mine.path().to_owned();
    drop(mine);
    assert!(!path.exists());
    assert!(other.path().exists());
}
