#pragma once
// Edits that cannot both hold.

#include "surgery/files/ledger.h"

namespace lancet {

/// kMismatch naming both where two edits give one prompt (subject filled in) different targets,
/// where a stage writes what an earlier one has written and was computed without it, or where edits
/// of different stages write different targets under nearly the same key (cosine above kSameKey) of
/// one matrix: the later one would undo the earlier. Edits of one stage were solved together.
void check_conflicts(const Ledger& ledger);

inline constexpr double kSameKey = 0.995;

}  // namespace lancet
