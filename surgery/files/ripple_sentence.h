#pragma once

#include "core/json.h"
#include "surgery/requests.h"

namespace lancet {

/// The fact of a RippleEdits record, whose `edit` has it as one sentence: prompt, subject, target
/// and what was true. kUsage where the sentence is not of the relation's published phrasing and has
/// not the form "... RELATION of SUBJECT is TARGET" either, nor names its subject.
[[nodiscard]] Fact read_ripple(const Json& record);

}  // namespace lancet
