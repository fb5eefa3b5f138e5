//! Enums whose variants are the words of a setting.
//!
//! Owns the way from a word to its variant and back. The module that uses a setting owns the enum; the
//! configuration builds it, so that no value is text between the file and its user.

/// An enum whose variants are the words of a setting.
pub trait Word: Sized + Copy {
    /// The variant that a word names.
    fn from_word(word: &str) -> Option<Self>;
}

/// Declares an enum with the word of each variant.
macro_rules! word_enum {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every word, in the order of the documentation.
            $vis const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of the configuration file.
            $vis fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::word::Word for $name {
            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use word_enum;

#[cfg(test)]
mod tests {
    use super::Word;

    word_enum! {
        /// Two of them.
        Fruit {
            /// Red.
            Apple = "apple",
            /// Yellow.
            StarFruit = "star-fruit",
        }
    }

    #[test]
    fn every_word_names_its_variant() {
        assert_eq!(Fruit::WORDS, ["apple", "star-fruit"]);
        for word in Fruit::WORDS {
            assert_eq!(
                Fruit::from_word(word).map(|fruit| fruit.to_string()).as_deref(),
                Some(*word)
            );
        }
        assert_eq!(Fruit::from_word("star-fruit"), Some(Fruit::StarFruit));
        assert!(Fruit::from_word("").is_none() && Fruit::from_word("Apple").is_none());
    }
}
