//! What a disk may hold, after the operations that were written down so far.

use std::collections::{BTreeMap, BTreeSet};

/// One thing that a process did to the files of its folder.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) path: String,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Write {
        at: usize,
        data: Vec<u8>,
    },
    Truncate(usize),
    /// Of a file, or of the folder.
    Sync,
    /// What was to be synced may be on the disk or not, and no later sync will see to it.
    FailedSync,
    Unlink,
}

/// What is certain and what isn't. Names are synced by syncing the folder, contents by syncing the file: no more than that is
/// promised by POSIX.
#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    certain: BTreeMap<String, usize>,
}

#[derive(Default)]
struct File {
    certain: Vec<u8>,
    pending: Vec<Pending>,
}

struct Pending {
    what: What,
    given_up: bool,
}

/// Contents by name. What a process tells us of itself is not among them.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// How much of what isn't certain is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Luck {
    /// Nothing.
    None,
    /// All, as if only the process had died.
    All,
    /// All but the last write, of which the beginning is there.
    Torn,
    /// Some sectors, and some names, whichever came first.
    Some,
}

const SECTOR: usize = 512;

impl Disk {
    pub(crate) fn carry_out(&mut self, operation: &Operation, folder: &str) {
        let name = operation.path.strip_prefix(folder).expect("a path in the folder").trim_start_matches('/');
        if name == "acks" {
            return;
        }
        if name.is_empty() {
            if let What::Sync = operation.what {
                self.certain = self.names.clone();
            }
            return;
        }
        if let What::Unlink = operation.what {
            self.names.remove(name);
            return;
        }
        let number = *self.names.entry(name.to_owned()).or_insert_with(|| {
            self.files.push(File::default());
            self.files.len() - 1
        });
        let file = &mut self.files[number];
        match &operation.what {
            What::Sync => {
                let pending = std::mem::take(&mut file.pending);
                for pending in pending.iter().filter(|pending| !pending.given_up) {
                    apply(&mut file.certain, &pending.what);
                }
            }
            What::FailedSync => file.pending.iter_mut().for_each(|pending| pending.given_up = true),
            what => file.pending.push(Pending { what: what.clone(), given_up: false }),
        }
    }

    /// The files as they may be found.
    pub(crate) fn found(&self, luck: Luck, chance: &mut fastrand::Rng) -> Files {
        let names: BTreeSet<&String> = self.names.keys().chain(self.certain.keys()).collect();
        let found = names.into_iter().filter_map(|name| {
            let lucky = match luck {
                Luck::None => false,
                Luck::All | Luck::Torn => true,
                Luck::Some => chance.bool(),
            };
            let file = if lucky { self.names.get(name) } else { self.certain.get(name) };
            Some((name.clone(), self.files[*file?].found(luck, chance)))
        });
        found.collect()
    }
}

impl File {
    fn found(&self, luck: Luck, chance: &mut fastrand::Rng) -> Vec<u8> {
        let mut found = self.certain.clone();
        match luck {
            Luck::None => {}
            Luck::All => self.pending.iter().for_each(|pending| apply(&mut found, &pending.what)),
            Luck::Torn => {
                if let Some((last, before)) = self.pending.split_last() {
                    before.iter().for_each(|pending| apply(&mut found, &pending.what));
                    match &last.what {
                        What::Write { at, data } => {
                            let data = data[..chance.usize(0..=data.len())].to_vec();
                            apply(&mut found, &What::Write { at: *at, data });
                        }
                        what => apply(&mut found, what),
                    }
                }
            }
            Luck::Some => {
                let odds = [0.1, 0.5, 0.9][chance.usize(0..3)];
                for pending in &self.pending {
                    let mut lucky = || chance.f64() < odds;
                    match &pending.what {
                        What::Write { at, data } => sectors(*at, data).filter(|_| lucky()).for_each(|(at, data)| {
                            apply(&mut found, &What::Write { at, data: data.to_vec() });
                        }),
                        what if lucky() => apply(&mut found, what),
                        _ => {}
                    }
                }
            }
        }
        found
    }
}

/// The write in pieces that are written at once or not at all.
fn sectors(at: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let begin = at + done;
        let length = (SECTOR - begin % SECTOR).min(data.len() - done);
        let piece = &data[done..done + length];
        done += length;
        (length > 0).then_some((begin, piece))
    })
}

fn apply(contents: &mut Vec<u8>, what: &What) {
    match what {
        What::Write { at, data } => {
            contents.resize(contents.len().max(at + data.len()), 0);
            contents[*at..at + data.len()].copy_from_slice(data);
        }
        What::Truncate(length) => contents.resize(*length, 0),
        What::Sync | What::FailedSync | What::Unlink => {}
    }
}
