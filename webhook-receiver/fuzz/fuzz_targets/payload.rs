//! Any event with any body: nothing panics, and every subject can be written and read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, bool, &[u8])| {
    let (event, is_form, body) = input;
    let content_type = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
    if let Ok(classified) = gharvest_webhook_receiver::classify_bytes(event, content_type, body) {
        for trigger in classified.triggers {
            assert_eq!(trigger.subject.to_string().parse().as_ref(), Ok(&trigger.subject));
        }
    }
});
