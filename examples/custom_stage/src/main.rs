//! The program `framewise` with one more stage type.

mod frame_subsample;

fn main() -> std::process::ExitCode {
    framewise::main(framewise::registry().stage::<frame_subsample::FrameSubsample>())
}
