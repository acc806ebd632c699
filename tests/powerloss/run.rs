//! Processes that write to one journal one after the other, and what is left of it if the power is lost.

use std::{
    collections::HashMap,
    fs,
    hash::{BuildHasher, RandomState},
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    disk::{Disk, Files, Luck, Operation, What},
    workload::{self, Contents, SEED, SYNCHRONOUS},
};

/// What is to go wrong: the nth of each; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) sync: u32,
    pub(crate) write: u32,
}

pub(crate) struct Run {
    seed: u64,
    synchronous: &'static str,
    /// Where the processes write.
    folder: PathBuf,
    log: PathBuf,
    /// Where disks are laid out to be looked at: nothing there need survive anything.
    scratch: PathBuf,
    operations: Vec<Operation>,
}

impl Run {
    pub(crate) fn new(synchronous: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("powerloss-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { memory.join(&name) } else { base.join("scratch") };
        for folder in [&base.join("disk"), &scratch] {
            fs::create_dir_all(folder).unwrap();
        }
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let folder = base.join("disk").canonicalize().unwrap();
        Self { seed, synchronous, folder, log: base.join("log"), scratch, operations: Vec::new() }
    }

    /// Runs a process until it has written everything, or something went wrong.
    pub(crate) fn process(&mut self, faults: Faults) {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env("LD_PRELOAD", shim())
            .env("POWERLOSS_DIR", &self.folder)
            .env("POWERLOSS_LOG", &self.log)
            .env("POWERLOSS_FAIL_SYNC", faults.sync.to_string())
            .env("POWERLOSS_FAIL_WRITE", faults.write.to_string())
            .env(SEED, self.seed.to_string())
            .env(SYNCHRONOUS, self.synchronous)
            .status()
            .unwrap();
        assert!(status.success(), "the process that writes: {status}");
        self.operations = parse(&fs::read(&self.log).unwrap());
    }

    pub(crate) fn operations(&self) -> usize {
        self.operations.len()
    }

    /// How many batches were.
    pub(crate) fn acknowledged(&self) -> usize {
        let mut told = Told::default();
        self.operations.iter().for_each(|operation| told.hear(operation));
        told.acknowledged
    }

    /// Loses the power after each of these operations, with all kinds of luck. How many disks were looked at, or what was
    /// lost.
    pub(crate) fn check(&self, when: Range<usize>) -> Result<usize, String> {
        let after_each = workload::after_each(&workload::batches(self.seed));
        let folder = self.folder.to_str().unwrap();
        let mut chance = fastrand::Rng::with_seed(self.seed);
        let (mut disk, mut told) = (Disk::default(), Told::default());
        // What a disk holds doesn't depend on what was told by then, and many are alike.
        let (mut looked, hasher) = (HashMap::new(), RandomState::new());
        for (number, operation) in self.operations.iter().enumerate().take(when.end) {
            disk.carry_out(operation, folder);
            told.hear(operation);
            if number < when.start {
                continue;
            }
            for luck in [Luck::None, Luck::All, Luck::Torn, Luck::Some] {
                let files = disk.found(luck, &mut chance);
                let held = looked.entry(hasher.hash_one(&files)).or_insert_with(|| self.look(&files, &after_each));
                held.clone().and_then(|held| told.agrees(held)).map_err(|problem| {
                    let Operation { path, what } = operation;
                    let what = format!("{what:?}").chars().take(60).collect::<String>();
                    format!("seed {}, after operation {number} ({path} {what}), {luck:?}: {problem}", self.seed)
                })?;
            }
        }
        Ok(looked.len())
    }

    /// How many batches are there; `None` if what is there is no number of them.
    fn look(&self, files: &Files, after_each: &[Contents]) -> Result<Option<usize>, String> {
        for left in fs::read_dir(&self.scratch).unwrap() {
            fs::remove_file(left.unwrap().path()).unwrap();
        }
        for (name, contents) in files {
            fs::write(self.scratch.join(name), contents).unwrap();
        }
        let held = workload::open(&self.scratch, "OFF").and_then(|mut journal| workload::contents(&mut journal));
        let held = held.map_err(|problem| format!("it can't be read: {problem}"))?;
        Ok(after_each.iter().position(|contents| *contents == held))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
        let _ = fs::remove_dir_all(self.folder.parent().unwrap());
    }
}

/// What the process told: so many were begun, and so many acknowledged.
#[derive(Default)]
struct Told {
    begun: usize,
    acknowledged: usize,
}

impl Told {
    fn hear(&mut self, operation: &Operation) {
        let What::Write { data, .. } = &operation.what else { return };
        if !operation.path.ends_with("/acks") {
            return;
        }
        let (word, number) = std::str::from_utf8(data).unwrap().trim_end().split_once(' ').unwrap();
        let number = number.parse::<usize>().unwrap() + 1;
        match word {
            "begun" => self.begun = number,
            _ => self.acknowledged = number,
        }
    }

    fn agrees(&self, batches: Option<usize>) -> Result<(), String> {
        let Self { begun, acknowledged } = self;
        match batches {
            Some(batches) if (*acknowledged..=*begun).contains(&batches) => Ok(()),
            Some(batches) => {
                Err(format!("{acknowledged} batches were acknowledged of {begun}, and {batches} are there"))
            }
            None => Err(format!("{acknowledged} batches were acknowledged, and what is there is no number of them")),
        }
    }
}

fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powerloss/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("powerloss-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-Wall", "-o"]).args([&library, &source]).args(["-ldl", "-lpthread"]);
        let status = compiler.status().expect("this test needs a C compiler, cc");
        assert!(status.success(), "cc: {status}");
        library
    })
}

fn parse(log: &[u8]) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut rest = log;
    while let [operation, head @ ..] = rest {
        let at = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
        let path = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let data = u32::from_le_bytes(head[12..16].try_into().unwrap()) as usize;
        let (path, head) = head[16..].split_at(path);
        let (data, head) = head.split_at(data);
        let what = match operation {
            b'w' => What::Write { at, data: data.to_vec() },
            b't' => What::Truncate(at),
            b's' => What::Sync,
            b'f' => What::FailedSync,
            b'u' => What::Unlink,
            unknown => panic!("{unknown} is no operation"),
        };
        operations.push(Operation { path: String::from_utf8(path.to_vec()).unwrap(), what });
        rest = head;
    }
    operations
}
