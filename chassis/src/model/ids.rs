//! The ids of a table's rows.

/// Ids that count up from 1, and how many rows are live. It knows whether it changed, so that it is written only then:
/// `storage/ids.rs` reads and writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    last: i64,
    live: i64,
    changed: bool,
}

impl Ids {
    /// Takes the ids as the database has them: the last that was given, and how many rows are live.
    pub fn read(last: i64, live: i64) -> Self {
        Self { last, live, changed: false }
    }

    /// Returns the next id, for a row that is live from now on.
    pub fn add_row(&mut self) -> i64 {
        self.live += 1;
        self.skip()
    }

    /// Returns the next id, for a row that does not count as live yet.
    pub fn skip(&mut self) -> i64 {
        self.last += 1;
        self.changed = true;
        self.last
    }

    /// Counts a row as live whose id is from [`Ids::skip`].
    pub fn count_row(&mut self) {
        self.live += 1;
        self.changed = true;
    }

    /// Counts a row as live no more. Its id is not given again.
    pub fn remove_row(&mut self) {
        self.live -= 1;
        self.changed = true;
    }

    /// Returns how many rows are live.
    pub fn live(&self) -> i64 {
        self.live
    }

    /// Returns the last id and the number of live rows, if the database has them otherwise.
    pub fn changed(&self) -> Option<(i64, i64)> {
        self.changed.then_some((self.last, self.live))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_and_are_not_given_again() {
        let mut ids = Ids::read(7, 2);
        assert_eq!(ids.changed(), None);
        assert_eq!((ids.add_row(), ids.skip()), (8, 9));
        ids.remove_row();
        assert_eq!(ids.add_row(), 10);
        assert_eq!((ids.live(), ids.changed()), (3, Some((10, 3))));
    }
}
