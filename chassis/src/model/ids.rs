//! The ids of a table's rows.

use common_events::Owner;

/// Ids that count up from 1, and how many rows are live. It knows whether it changed, so that it is written only then:
/// `storage/ids.rs` reads and writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    last: i64,
    live: i64,
    owned: i64,
    changed: bool,
}

impl Ids {
    /// Takes the ids as the database has them: the last that was given, how many rows are live, and how many of these belong to
    /// others than guests.
    pub fn read(last: i64, live: i64, owned: i64) -> Self {
        Self { last, live, owned, changed: false }
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

    /// Counts `rows` more live rows, or fewer, as those of `owner`. Rows that are not counted so belong to guests.
    pub fn count_owner(&mut self, owner: &Owner, rows: i64) {
        if *owner != Owner::GUEST {
            self.owned += rows;
            self.changed = true;
        }
    }

    /// Returns how many rows are live.
    pub fn live(&self) -> i64 {
        self.live
    }

    /// Returns the last id, the number of live rows, and how many of these belong to others than guests, if the database has
    /// them otherwise.
    pub fn changed(&self) -> Option<(i64, i64, i64)> {
        self.changed.then_some((self.last, self.live, self.owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_and_are_not_given_again() {
        let mut ids = Ids::read(7, 2, 1);
        ids.count_owner(&Owner::GUEST, 1);
        assert_eq!(ids.changed(), None);
        assert_eq!((ids.add_row(), ids.skip()), (8, 9));
        ids.remove_row();
        assert_eq!(ids.add_row(), 10);
        assert_eq!((ids.live(), ids.changed()), (3, Some((10, 3, 1))));
        ids.count_owner(&Owner::of_subject("https://id.example", "alice"), -1);
        assert_eq!(ids.changed(), Some((10, 3, 0)));
    }
}
