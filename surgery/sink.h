#pragma once
// Subjects that are the first token of all. Where no begin token stands before the text, the first
// token becomes what later tokens look at when they look at nothing: early layers write a vector of
// many times the usual size into its stream, the same one whatever the token is. From there on its
// keys tell nothing of the subject, and a change of its value moves every text. A fact of such a
// subject is written below these layers.

#include <cstdint>

#include "model/decoder.h"
#include "surgery/editor.h"
#include "surgery/subject.h"

namespace lancet {

inline constexpr Parameter kSinkLimit{
    "sink",
    kAuto,
    0,
    1e6,
    false,
    "a subject that is the first token of all is written below the layers whose stream there is "
    "more than this many times as long as elsewhere, 0 = where the others are; auto: 2 with "
    "sampled "
    "contexts, else 0"};
[[nodiscard]] double sink_limit(const Parameters& parameters);

/// The layer for a fact that was to be written at `layer`: the highest one up to it behind which
/// the stream at the subject of the bare prompt is at most `limit` times as long as its mean length
/// in the other contexts. `layer` itself where something stands before the subject's last token,
/// where there are no other contexts, where `limit` is 0, and where no layer is so.
[[nodiscard]] std::int64_t layer_below_sink(const Decoder& model, const FactRows& fact,
                                            std::int64_t layer, double limit);

}  // namespace lancet
