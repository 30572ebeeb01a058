use super::*;

#[test]
fn results_come_back_as_what_they_were() {
    let optimized = Optimized { files_removed: 3, files_added: 1, ..Optimized::default() };
    let vacuumed = Vacuumed { files_deleted: 2, bytes_deleted: 9, log_files_deleted: 20 };
    let released = Released { rows_released: 4, rows_kept: 1 };
    for result in [
        Maintained::Optimized(optimized),
        Maintained::Vacuumed(vacuumed),
        Maintained::Released(released),
    ] {
        assert_eq!(serde_json::from_str::<Maintained>(&result.to_json()).unwrap(), result);
    }
}

#[test]
fn work_of_an_older_program_has_defaults() {
    assert_eq!(serde_json::from_str::<OptimizeWork>("{}").unwrap(), OptimizeWork::default());
    assert_eq!(serde_json::from_str::<VacuumWork>("{}").unwrap(), VacuumWork::default());
    assert_eq!(serde_json::from_str::<ReleaseWork>("{}").unwrap(), ReleaseWork::default());
}

#[test]
fn kinds_are_read_as_they_are_written() {
    for kind in JobKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    assert!("refresh".parse::<JobKind>().is_err());
}
