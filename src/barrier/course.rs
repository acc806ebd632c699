//! What is to be done, by what the table says.

use super::store::{PlacedBy, Row};

/// What is to be done about an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ActCourse {
    /// It is the first: it happens now.
    Run,
    /// It has happened: this was its answer.
    Replay(Option<Vec<u8>>),
    /// It was refused: this was how.
    Refused(Option<Vec<u8>>),
    /// It was undone before it came, and must not happen any more.
    Undone,
}

/// What is to be done about an undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UndoCourse {
    /// The action has happened, with this answer: it is undone now.
    Run(Option<Vec<u8>>),
    /// It has been undone: this was the answer.
    Replay(Option<Vec<u8>>),
    /// The action never happened, and now never will.
    Nothing,
}

impl ActCourse {
    /// By the row of the action; `None` if it was placed just now.
    pub(super) fn of(action: Option<Row>) -> Self {
        match action {
            None => Self::Run,
            Some(Row { placed_by: PlacedBy::Effect, answer }) => Self::Replay(answer),
            Some(Row { placed_by: PlacedBy::Refusal, answer }) => Self::Refused(answer),
            Some(Row { placed_by: PlacedBy::Undo, .. }) => Self::Undone,
        }
    }
}

impl UndoCourse {
    /// By the rows of the undo and of the action; `None` for one that was placed just now, by this undo.
    pub(super) fn of(undo: Option<Row>, action: Option<Row>) -> Self {
        match (undo, action) {
            (Some(Row { answer, .. }), _) => Self::Replay(answer),
            (None, Some(Row { placed_by: PlacedBy::Effect, answer })) => Self::Run(answer),
            (None, None | Some(Row { placed_by: PlacedBy::Refusal | PlacedBy::Undo, .. })) => Self::Nothing,
        }
    }
}

#[cfg(all(test, not(buttress_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_action_happens_only_where_nothing_was() {
        let row = |placed_by| Some(Row { placed_by, answer: Some(b"7".to_vec()) });
        let answer = || Some(b"7".to_vec());
        assert_eq!(ActCourse::of(None), ActCourse::Run);
        assert_eq!(ActCourse::of(row(PlacedBy::Effect)), ActCourse::Replay(answer()));
        assert_eq!(ActCourse::of(row(PlacedBy::Refusal)), ActCourse::Refused(answer()));
        assert_eq!(ActCourse::of(row(PlacedBy::Undo)), ActCourse::Undone);
    }

    #[test]
    fn an_undo_runs_only_where_the_action_happened() {
        let row = |placed_by| Some(Row { placed_by, answer: Some(b"7".to_vec()) });
        assert_eq!(UndoCourse::of(None, row(PlacedBy::Effect)), UndoCourse::Run(Some(b"7".to_vec())));
        for nothing in [None, row(PlacedBy::Refusal), row(PlacedBy::Undo)] {
            assert_eq!(UndoCourse::of(None, nothing.clone()), UndoCourse::Nothing);
            assert_eq!(UndoCourse::of(row(PlacedBy::Undo), nothing), UndoCourse::Replay(Some(b"7".to_vec())));
        }
    }
}
