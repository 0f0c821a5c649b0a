//! What comes over the channel of a Python task, which the script can write to as well: no bytes make its reader panic, and
//! nothing but a whole answer is a result.

use stepwell_providers::python::probe;

/// Reads the bytes as an answer and as a notice.
pub fn check(data: &[u8]) {
    probe::notice(data);
    if !probe::is_result(data) {
        return;
    }
    for end in 0..data.len().min(4_096) {
        assert!(!probe::is_result(&data[..end]), "a part of an answer is a result: {end} of {data:?}");
    }
    let mut longer = data.to_vec();
    longer.push(b' ');
    assert!(!probe::is_result(&longer), "an answer with more behind it is a result: {data:?}");
}
