#pragma once
// What the tables of formats/names do not say of a family's config.json and its GGUF.

#include "core/json.h"
#include "formats/checkpoint.h"
#include "formats/names/name_map.h"

namespace lancet {

/// config.json as the writer of metadata reads it: sizes under their keys, one RoPE for all layers,
/// no more positions than windows hide nothing of (with a warning). kMismatch for what the family's
/// GGUF cannot say: other values than the implied ones, another pattern of windows, another scale
/// of queries.
[[nodiscard]] Json config_for_gguf(const Json& config, const NameFamily& family);

/// The part of a head that is rotated.
[[nodiscard]] double rotated_part(const Json& config, const NameFamily& family);

/// Members of a config.json made from metadata that depend on which tensors there are, and those
/// that the GGUF implies.
void complete_config(const Checkpoint& checkpoint, const NameFamily& family, Json& config);

}  // namespace lancet
