//! A list that is empty for most of its life.

use std::ops::Deref;

/// A vector that takes one word until it is needed; a plain one takes three in each of thousands of idle sessions.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "one word instead of three is what it is for")]
pub(crate) struct Seldom<T>(Option<Box<Vec<T>>>);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Seldom<T> {
    pub(crate) fn push(&mut self, item: T) {
        self.0.get_or_insert_default().push(item);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.0.as_mut()?.pop()
    }

    pub(crate) fn swap_remove(&mut self, at: usize) -> T {
        self.0.as_mut().expect("it has an item").swap_remove(at)
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if let Some(items) = &mut self.0 {
            items.retain(keep);
        }
    }

    /// Takes all out.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.0.take().map_or_else(Vec::new, |items| *items)
    }

    /// Puts back what was [taken](Self::take), or something else in its place.
    pub(crate) fn set(&mut self, items: Vec<T>) {
        self.0 = (!items.is_empty()).then(|| Box::new(items));
    }

    /// Gives its memory back if it is empty.
    pub(crate) fn shed(&mut self) {
        self.0.take_if(|items| items.is_empty());
    }
}

impl<T> Deref for Seldom<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |items| items.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_word_and_is_otherwise_a_list() {
        let mut list = Seldom::default();
        assert_eq!((size_of_val(&list), list.len(), list.pop()), (8, 0, None));
        (0..5).for_each(|number| list.push(number));
        list.retain(|number| *number != 1);
        assert_eq!((list.swap_remove(0), list.pop(), &*list), (0, Some(3), &[4, 2][..]));
        list.shed();
        assert_eq!(list.take(), [4, 2]);
        list.set(vec![7]);
        assert_eq!(list.pop(), Some(7));
        list.shed();
        assert!(list.0.is_none());
    }
}
