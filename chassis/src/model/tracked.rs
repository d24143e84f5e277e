//! Rows in memory that know what became of them.

use std::collections::BTreeMap;

/// The rows of one table that a batch names, by their keys. It knows which of them were added, changed and removed, so that
/// those and no others are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked<K, V> {
    rows: BTreeMap<K, (V, Mark)>,
    removed: Vec<V>,
}

/// What became of a row since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Read,
    Added,
    Changed,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), removed: Vec::new() }
    }
}

impl<K: Ord, V> Tracked<K, V> {
    /// Takes a row as the database has it.
    pub fn read(&mut self, key: K, row: V) {
        self.rows.insert(key, (row, Mark::Read));
    }

    /// Returns the row with this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(row, _)| row)
    }

    /// Returns the row with this key, to be changed.
    pub fn change(&mut self, key: &K) -> Option<&mut V> {
        let (row, mark) = self.rows.get_mut(key)?;
        if *mark == Mark::Read {
            *mark = Mark::Changed;
        }
        Some(row)
    }

    /// Returns the row with this key, to be changed. Adds `new` if there is none.
    pub fn change_or_add(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let (row, mark) = self.rows.entry(key).or_insert_with(|| (new(), Mark::Added));
        if *mark == Mark::Read {
            *mark = Mark::Changed;
        }
        row
    }

    /// Adds a row. There must be none with this key.
    pub fn add(&mut self, key: K, row: V) {
        let before = self.rows.insert(key, (row, Mark::Added));
        debug_assert!(before.is_none(), "a row was added twice");
    }

    /// Removes the row with this key, if there is one.
    pub fn remove(&mut self, key: &K) {
        if let Some((row, mark)) = self.rows.remove(key)
            && mark != Mark::Added
        {
            self.removed.push(row);
        }
    }

    /// Returns all rows, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(|(row, _)| row)
    }

    /// Returns the rows that the database does not have yet.
    pub fn added(&self) -> impl Iterator<Item = &V> {
        self.marked(Mark::Added)
    }

    /// Returns the rows that the database has otherwise.
    pub fn changed(&self) -> impl Iterator<Item = &V> {
        self.marked(Mark::Changed)
    }

    /// Returns the rows that the database has yet, as they were last.
    pub fn removed(&self) -> impl Iterator<Item = &V> {
        self.removed.iter()
    }

    fn marked(&self, wanted: Mark) -> impl Iterator<Item = &V> {
        self.rows.values().filter(move |(_, mark)| *mark == wanted).map(|(row, _)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_each_row_is_known() {
        let mut rows = Tracked::default();
        for key in 1..=4 {
            rows.read(key, format!("row {key}"));
        }
        rows.add(5, "row 5".to_owned());
        rows.add(6, "row 6".to_owned());
        for key in [2, 3, 5] {
            rows.change(&key).unwrap().push('!');
        }
        for key in [3, 4, 6, 7] {
            rows.remove(&key);
        }
        rows.add(4, "new row 4".to_owned());
        assert_eq!(rows.change(&3), None);
        rows.change_or_add(5, String::new).push('?');
        rows.change_or_add(8, || "row 8".to_owned()).push('?');
        assert_eq!(rows.get(&1).unwrap(), "row 1");
        assert_eq!(rows.added().collect::<Vec<_>>(), ["new row 4", "row 5!?", "row 8?"]);
        assert_eq!(rows.changed().collect::<Vec<_>>(), ["row 2!"]);
        assert_eq!(rows.removed().collect::<Vec<_>>(), ["row 3!", "row 4"]);
        assert_eq!(rows.values().count(), 5);
    }
}
