#pragma once
// The search for z of many facts (value.h), for mass_edit.h.

#include <cstdint>
#include <string>
#include <vector>

#include "surgery/editor.h"
#include "surgery/subject.h"
#include "surgery/value.h"

namespace lancet {

/// z of every fact at the stream leaving `layer`, by the parameters that editors of many facts
/// share. Facts of like length share a chunk, some chunks exist at a time; what comes out does not
/// depend on the thread count. `ids` (of the facts) are for progress.
[[nodiscard]] std::vector<Value> find_values(const Decoder& model, const EditInput& input,
                                             std::int64_t layer, const std::vector<FactRows>& all,
                                             const std::vector<std::string>& ids);

}  // namespace lancet
