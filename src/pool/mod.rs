//! Who holds which server, and when.
