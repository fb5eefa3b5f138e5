//! Random operations in virtual time.

use proptest::prelude::*;

use super::super::fuzz_ops;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_in_any_order_keep_every_promise(
        bytes in proptest::collection::vec(any::<u8>(), 0..800),
    ) {
        fuzz_ops(&bytes);
    }
}
