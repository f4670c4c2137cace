//! What is asked of the whole process: open files, processors, no core files.

use std::sync::OnceLock;

use dwcp_core::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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

/// The processors that this process was started with, if it is bound to others by now.
static FIRST_PROCESSORS: OnceLock<CpuSet> = OnceLock::new();

/// Does `work` on the processors that this process was started with, before [`prepare_process`] bound it to others. A
/// process that is started meanwhile has them, and obeys its own configuration: it could not tell a choice of this one from
/// one of whoever started it.
pub fn on_first_processors<T>(work: impl FnOnce() -> T) -> T {
    let first = FIRST_PROCESSORS.get().zip(sched_getaffinity(None).ok());
    let Some((first, bound)) = first else { return work() };
    // They may be gone: then those that this process has are as good.
    let is_unbound = sched_setaffinity(None, first).is_ok();
    let done = work();
    if is_unbound {
        let _ = sched_setaffinity(None, &bound);
    }
    done
}

/// Binds the calling thread to `cores`; if none is named, it stays with those that the process was started with.
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
    let first = sched_getaffinity(None);
    let bound = sched_setaffinity(None, &set);
    if let (Ok(first), Ok(())) = (first, bound) {
        FIRST_PROCESSORS.get_or_init(|| first);
    }
    bound.map_err(|error| {
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
    fn what_a_bound_process_starts_is_not_bound() {
        let seen = std::thread::spawn(|| {
            let all = sched_getaffinity(None).expect("it is allowed");
            let first = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).expect("it runs");
            bind(&[u16::try_from(first).expect("few")]).expect("it is there");
            let bound = sched_getaffinity(None).expect("it is allowed");
            let meanwhile = on_first_processors(|| sched_getaffinity(None).expect("it is allowed"));
            let after = sched_getaffinity(None).expect("it is allowed");
            (all, bound, meanwhile, after)
        });
        let (all, bound, meanwhile, after) = seen.join().expect("no panic");
        assert_eq!((meanwhile, after, bound.count()), (all, bound, 1));
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
