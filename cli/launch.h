#pragma once
// `lancet train --nproc N`: this command once more in N processes that find each other.

namespace lancet {

/// Runs the command line of this process, without --nproc, N times with torchrun's variables set.
/// Each has its share of the processors where `threads` is 0. What rank 0 prints goes through; the
/// others print errors alone. When one fails, the others have half a minute to stop by themselves;
/// the result is the exit code of the first that failed. kResource where no process can be made.
[[nodiscard]] int launch_ranks(int count, int threads);

}  // namespace lancet
