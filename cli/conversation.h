#pragma once
// `lancet generate MODEL --chat`: a conversation in the terminal.

#include "cli/engine.h"

namespace lancet {

/// Reads a message from each line of standard input and streams the answer, which the next one
/// remembers. Ctrl-C ends an answer, which is then remembered as far as it came; at the prompt it
/// ends the program (kInterrupted), as the end of the input does without an error.
void hold_conversation(const fs::path& model, const SamplingOptions& sampling,
                       const RuntimeOptions& runtime);

}  // namespace lancet
