//! A new migration makes the crate compile again.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations/messaging");
}
