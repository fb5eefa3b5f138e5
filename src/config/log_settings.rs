//! Settings of the log that are one word of a closed list. `app` reads them as they are.

use crate::word::word_enum;

word_enum! {
    /// Least important lines that are logged.
    pub LogLevel {
        /// What cannot go on.
        Error = "error",
        /// What an operator should look at.
        Warn = "warn",
        /// Life of the process and its clients.
        Info = "info",
        /// Decisions.
        Debug = "debug",
        /// Messages.
        Trace = "trace",
    }
}

word_enum! {
    /// Shape of log lines.
    pub LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
