#pragma once
// What a trainer sees of a dataset: token ids, which of them count, and what the teacher thought.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lancet {

/// The teacher's best tokens at one position, best first. Empty: it said nothing here.
struct TopK {
  std::vector<std::int32_t> ids;
  std::vector<float> logprobs;  ///< natural logarithms, as long as ids
};

/// One tokenised row [tokens].
struct Example {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> target;  ///< target[t] = 1: token t is predicted (from those before it)
                                     ///< and counted; target[0] is 0
  std::int64_t line = 0;             ///< of its file, from 1
  std::vector<TopK> teacher;         ///< one for each target token in order, or none at all
};

/// A row of "chosen" and "rejected".
struct Preference {
  Example chosen, rejected;
};

/// Rows that go through the model together: packed one behind the other, or padded to the longest.
struct Pack {
  std::vector<std::size_t> examples;  ///< numbers of rows in the dataset
  std::int64_t tokens = 0;            ///< sum of their lengths, without padding
};

}  // namespace lancet
