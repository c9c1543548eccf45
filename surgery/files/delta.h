#pragma once
// lancet.delta.safetensors: edits as low-rank factors. Per tensor NAME two float32 tensors,
// NAME.left [d_out, r] and NAME.right [d_in, r], with delta W = left right^T for the mathematical W
// [d_out, d_in] whatever the stored layout; metadata: format = "lancet.delta", version = "1",
// ledger = JSON. Where the method has them, NAME.keys [edits, d_in] and `values` [edits, d_model]
// hold key and value of the edits that the ledger marks, in its order: with them an edit is taken
// out of a batch without another search.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "surgery/files/ledger.h"

namespace lancet {

inline constexpr std::string_view kDeltaFile = "lancet.delta.safetensors";

struct DeltaTensor {
  std::string name;
  std::int64_t rank = 0;
  std::vector<float> left;   ///< [d_out, rank]
  std::vector<float> right;  ///< [d_in, rank]
};

struct Delta {
  Ledger ledger;
  std::vector<DeltaTensor> tensors;  ///< one per ledger tensor, same order
  [[nodiscard]] const DeltaTensor* find(std::string_view name) const noexcept;
};

/// A delta file, or a directory / model file that has one beside it. kInput when it is missing,
/// damaged, of another version, or when ledger and tensors do not agree.
[[nodiscard]] Delta load_delta(const fs::path& path);
void save_delta(const fs::path& path, const Delta& delta);

/// Where the delta and undo file of a model stand: in the directory, or NAME.lancet.*.safetensors
/// beside a file.
[[nodiscard]] fs::path delta_path(const fs::path& model);
[[nodiscard]] fs::path undo_path(const fs::path& model);

/// What `lancet show F` prints: {file, kind: "delta", tensors: [{name, layer, shape, rank, norm,
/// base_sha256}], stages: [{method, layers, seed, parameters, ...}], edits: [{id, stage, subject,
/// prompt, target, true?, norm: {tensor: x}, metrics?}]}. For an undo file kind is "undo".
[[nodiscard]] Json describe_delta(const fs::path& path);

/// Whether other edits were computed together with these or on top of them, so that their factors
/// would be others without them. kUsage for an unknown id (with "did you mean").
[[nodiscard]] bool needs_rewrite(const Ledger& ledger, const std::vector<std::string>& ids);

/// Appends `next` as later stages (ids made unique). Tensors of both must agree in shape and layout
/// (kMismatch). The base hashes of tensors that `first` already has are kept.
[[nodiscard]] Delta append_delta(const Delta& first, const Delta& next);
/// The same delta without some edits: their columns are dropped. What that means where
/// needs_rewrite() says yes is the caller's business. kUsage for an id that is not there
/// (with "did you mean").
[[nodiscard]] Delta without_edits(const Delta& delta, const std::vector<std::string>& ids);
/// ||left right^T||_F, all columns or some, in float64.
[[nodiscard]] double delta_norm(const DeltaTensor& tensor, std::int64_t first = 0,
                                std::int64_t last = -1);

}  // namespace lancet
