//! What is asked of the whole process: open files, processors, no core files.

use dwcp_core::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Sets the limit on open files and the processors of the calling thread, which threads started later
/// inherit, and switches core files off: call it before the runtime is made. Returns what could not be done, with the remedy in words.
pub fn prepare_process(config: &Config) -> Vec<String> {
    let files = open_files(config.limits.max_open_files.get()).err();
    let cores_kept = no_core_dumps().err();
    let affinity = &config.performance.cpu_affinity;
    let cores = if affinity.enabled { affinity.cores.as_slice() } else { &[] };
    files.into_iter().chain(cores_kept).chain(bind(cores).err()).collect()
}

/// A core file would hold keys. One byte is less than any core file has, and the one limit under which the kernel does not
/// start a program that takes it either (core(5)).
fn no_core_dumps() -> Result<(), String> {
    let limit = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(Resource::Core, limit).map_err(|error| {
        format!("core files cannot be switched off ({error}): they would hold keys")
    })
}

/// Allows `wanted` open files, or as many as the system allows.
fn open_files(wanted: Option<u64>) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let asked = wanted.or(maximum);
    if asked == current {
        return Ok(());
    }
    let is_above = maximum.is_some_and(|maximum| asked.is_none_or(|asked| asked > maximum));
    let raised = Rlimit { current: asked, maximum: if is_above { asked } else { maximum } };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        // As near as it goes.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let [asked, maximum] = [asked, maximum].map(|limit| {
            limit.map_or_else(|| "any number".to_owned(), |limit| limit.to_string())
        });
        format!(
            "limits.maxOpenFiles: {asked} open files are not allowed ({error}), {maximum} are: raise LimitNOFILE= of the unit"
        )
    })
}

/// Binds the calling thread to `cores`; to all if none is named.
fn bind(cores: &[u16]) -> Result<(), String> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &core in cores {
        if usize::from(core) >= CpuSet::MAX_CPU {
            return Err(format!("performance.cpuAffinity.cores: there is no processor {core}"));
        }
        set.set(usize::from(core));
    }
    sched_setaffinity(None, &set).map_err(|error| {
        format!(
            "performance.cpuAffinity.cores: cannot bind threads to {cores:?} ({error}): `lscpu` and AllowedCPUs= of the unit tell which processors there are"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: limits belong to the process.
    #[test]
    fn open_files_are_set_and_what_is_not_allowed_is_told() {
        let before = getrlimit(Resource::Nofile);
        open_files(Some(300)).expect("fewer is always allowed");
        assert_eq!(getrlimit(Resource::Nofile).current, Some(300));
        open_files(None).expect("what the system allows is allowed");
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        // The kernel's own ceiling is fs.nr_open, 2^20 unless somebody raised it; root may go up to it.
        let refused = open_files(Some(u64::MAX / 2)).expect_err("more than fs.nr_open");
        assert!(refused.contains("LimitNOFILE="), "{refused}");
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum, "as near as it goes");
    }

    #[test]
    fn a_processor_that_is_not_there_is_named() {
        let bind = |cores: &'static [u16]| std::thread::spawn(move || bind(cores)).join();
        assert_eq!(bind(&[]).expect("no panic"), Ok(()));
        assert_eq!(bind(&[0]).expect("no panic"), Ok(()));
        let refused = bind(&[1_000]).expect("no panic").expect_err("there is none");
        assert!(refused.contains("1000"), "{refused}");
    }
}
