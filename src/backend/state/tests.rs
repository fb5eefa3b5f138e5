use super::simulate::{Choice, run};

#[test] //TRACE
fn one() { run(Choice::Seeded(std::env::var("TR").map_or(0, |t| t.parse().unwrap()))); } //TRACE
#[test]
fn random_schedules_never_hand_out_a_busy_server() {
    let full = std::env::var("HOWDAH_SOAK").is_ok_and(|soak| soak == "full");
    let count = if full { 1_000_000 } else { 6_000 };
    let (mut died, mut doubt, mut ignored, mut stuck) = (0, 0, 0, 0);
    for seed in 0..count {
        let outcome = std::panic::catch_unwind(|| run(Choice::Seeded(seed)));
        let outcome = outcome.unwrap_or_else(|_| panic!("schedule {seed} fails"));
        died += u64::from(outcome.died);
        doubt += u64::from(outcome.doubt);
        ignored += u64::from(outcome.ignored);
        stuck += u64::from(outcome.stuck);
    }
    println!("{count} schedules: {died} died, {doubt} in doubt, {ignored} with Syncs ignored, {stuck} stuck");
    // A generator that stops reaching these would prove nothing.
    for reached in [died, doubt, ignored] {
        assert!(reached > count / 200, "{died} died, {doubt} in doubt, {ignored} ignored");
    }
}

proptest::proptest! {
    /// What the fuzz target runs.
    #[test]
    fn schedules_made_of_bytes(bytes in proptest::collection::vec(0u8.., 0..200)) {
        run(Choice::Bytes(&bytes));
    }
}
