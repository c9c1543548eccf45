#pragma once
// Seeds of a job: JSON lines, plain texts, or a recipe's own rounds.

#include <vector>

#include "distill/job.h"
#include "distill/turn.h"

namespace lancet {

/// One seed and where it stood.
struct Seed {
  Json value;
  std::string label;  ///< "prompts.jsonl:3"
};

/// *.jsonl: one object a line; *.txt: {needs: line} for each line that is not blank; any other file
/// (and every file of a folder, by name): {needs: its text, "source": its name}. Equal seeds after
/// the first are left out. Errors: kInput with file and line, also for a seed without the key that
/// the recipe needs.
[[nodiscard]] std::vector<Seed> read_seeds(const Job& job, std::size_t& duplicates);

/// A seed's name: 16 hex digits over recipe, content and sample.
[[nodiscard]] std::string seed_key(const DataRecipe& recipe, const Json& seed,
                                   std::uint32_t sample);
/// Whether it belongs to part `part` (from 1) of `parts`.
[[nodiscard]] bool in_part(std::string_view key, unsigned part, unsigned parts);

}  // namespace lancet
