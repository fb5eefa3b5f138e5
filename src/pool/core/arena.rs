//! Storage for slots, waiters and pools: entries with generations, and lists threaded through them.
//!
//! An entry that is freed raises its generation, so a key kept too long finds nothing instead of a
//! stranger. Lists are intrusive: joining, leaving from the middle and freeing take constant time
//! and allocate nothing once the arena has grown to its peak. An entry is in at most one list.

const NIL: u32 = u32::MAX;

/// Names one entry for as long as it exists, and nothing afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    prev: u32,
    /// The next entry of the list, or of the free list.
    next: u32,
    value: Option<T>,
}

/// The two ends of a list through an [`Arena`].
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }
}

impl List {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }
}

#[derive(Debug)]
pub(super) struct Arena<T> {
    entries: Vec<Entry<T>>,
    free: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: NIL }
    }
}

impl<T> Arena<T> {
    pub(super) fn insert(&mut self, value: T) -> Key {
        if self.free == NIL {
            let index = u32::try_from(self.entries.len()).expect("invariant: fewer than 2^32");
            self.entries.push(Entry { generation: 0, prev: NIL, next: NIL, value: Some(value) });
            return Key { index, generation: 0 };
        }
        let index = self.free;
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.next = NIL;
        entry.value = Some(value);
        Key { index, generation: entry.generation }
    }

    /// Frees the entry; it must have left its list.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.prev = NIL;
        entry.next = self.free;
        self.free = index;
        Some(value)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.entries.get(index as usize).is_some_and(|entry| entry.value.is_some())
    }

    pub(super) fn at(&self, index: u32) -> &T {
        self.entries[index as usize].value.as_ref().expect("invariant: the entry exists")
    }

    pub(super) fn at_mut(&mut self, index: u32) -> &mut T {
        self.entries[index as usize].value.as_mut().expect("invariant: the entry exists")
    }

    pub(super) fn key(&self, index: u32) -> Key {
        Key { index, generation: self.entries[index as usize].generation }
    }

    /// One more than the highest index ever used.
    pub(super) fn bound(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("invariant: fewer than 2^32")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..).zip(&self.entries).filter_map(|(i, entry)| Some((i, entry.value.as_ref()?)))
    }

    pub(super) fn push_back(&mut self, list: &mut List, index: u32) {
        let tail = list.tail;
        let entry = &mut self.entries[index as usize];
        entry.prev = tail;
        entry.next = NIL;
        match tail {
            NIL => list.head = index,
            tail => self.entries[tail as usize].next = index,
        }
        list.tail = index;
        list.len += 1;
    }

    pub(super) fn push_front(&mut self, list: &mut List, index: u32) {
        let head = list.head;
        let entry = &mut self.entries[index as usize];
        entry.prev = NIL;
        entry.next = head;
        match head {
            NIL => list.tail = index,
            head => self.entries[head as usize].prev = index,
        }
        list.head = index;
        list.len += 1;
    }

    /// Inserts an entry in front of another one of the list.
    pub(super) fn insert_before(&mut self, list: &mut List, index: u32, next: u32) {
        let prev = self.entries[next as usize].prev;
        if prev == NIL {
            return self.push_front(list, index);
        }
        self.entries[prev as usize].next = index;
        self.entries[next as usize].prev = index;
        let entry = &mut self.entries[index as usize];
        entry.prev = prev;
        entry.next = next;
        list.len += 1;
    }

    /// Takes an entry out of the list it is in.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) {
        let entry = &mut self.entries[index as usize];
        let (prev, next) = (entry.prev, entry.next);
        entry.prev = NIL;
        entry.next = NIL;
        match prev {
            NIL => list.head = next,
            prev => self.entries[prev as usize].next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.entries[next as usize].prev = prev,
        }
        list.len -= 1;
    }

    pub(super) fn walk(&self, list: &List) -> impl Iterator<Item = u32> {
        let mut next = list.head;
        std::iter::from_fn(move || {
            let here = next;
            next = self.entries.get(here as usize)?.next;
            Some(here)
        })
    }
}
