#pragma once
// Context templates: texts that precede a fact, so that key and value do not depend on what stands
// before (ROME §3.1). Index 0 is always the bare prompt "{}".

#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/editor.h"

namespace lancet {

/// "{}" and `count` texts "<text>. {}" that the model writes itself: starters The, Therefore,
/// Because, I, You in turn, half of them 5 and half 10 tokens long, top-k 5 from `seed`; braces
/// become blanks. The same model and seed give the same texts.
[[nodiscard]] std::vector<std::string> sample_contexts(const Decoder& model,
                                                       const Tokenizer& tokenizer,
                                                       std::int64_t count, std::uint64_t seed);

/// Contexts that cut a prompt into the tokens of any sampled ones, without a model: what these
/// write ends in ". " before it.
[[nodiscard]] std::vector<std::string> contexts_like_sampled();

/// One literal template with "{}" a line, empty lines left out; "{}" itself is put first where it
/// is missing. kUsage for a line without "{}" or with several; kInput when the file is missing.
[[nodiscard]] std::vector<std::string> read_contexts(const fs::path& path);

/// Whether the parameter `contexts` is auto: without contexts of one's own an editor does what was
/// measured to be best; with them, what was published.
[[nodiscard]] bool is_sampled(const Parameters& parameters);
/// kUsage where a number of sampled contexts is given beside a file of contexts.
void check_contexts(const Parameters& parameters);
/// The contexts of an editor whose parameters have `contexts` and `context_count`.
[[nodiscard]] std::vector<std::string> contexts_of(const EditInput& input);

}  // namespace lancet
