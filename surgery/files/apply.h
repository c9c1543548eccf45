#pragma once
// W' = round(W + left right^T), stage by stage: the only place where edits are written into
// weights. Sums in float64 in a fixed order, one rounding per stage to the stored dtype, so that
// the bytes depend on base and factors only.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "formats/dtype.h"
#include "formats/model_source.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"
#include "surgery/files/delta.h"

namespace lancet {

struct ApplyOptions {
  bool force = false;          ///< overwrite OUT; also apply to a base whose hash differs
  bool plan = false;           ///< check and describe, write nothing
  std::optional<DType> dtype;  ///< nothing = kept (a quantised base becomes F32)
  Json command;                ///< the resolved command, for lancet.json
};

/// `lancet apply MODEL F... -o OUT`. Every delta's base hash must be that of MODEL's tensor, or of
/// the tensor after the deltas before it: else kMismatch (unless force); two edits of the same
/// subject and prompt with different targets likewise. Writes OUT with delta and undo file. Returns
/// {output, edits: [ids], tensors: [{name, rank, rel_norm}], bytes, seconds, outputs}; with `plan`
/// {plan: true, edits, tensors, bytes, peak_memory}.
Json apply_delta(const fs::path& model, const std::vector<fs::path>& deltas, const fs::path& out,
                 const ApplyOptions& options);

/// {"command", "seed"} of a lancet.json, from the resolved command; null where there is none.
[[nodiscard]] Json manifest_of(const Json& command);

/// OUT of edit and apply, before the work (check_place): it may be MODEL itself, which is replaced
/// whole and which undo gives back, but nothing else that is read.
void check_edited_output(std::string_view operation, const fs::path& out, const fs::path& model,
                         std::vector<fs::path> others, Replace replace);

/// A tensor's bytes as a plain dtype in Hugging Face order: stored bytes, or decoded to F32 when
/// quantised.
struct PlainTensor {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};
[[nodiscard]] PlainTensor read_plain(const ModelSource& source, const std::string& name,
                                     std::optional<DType> dtype = std::nullopt);
/// SHA-256 of PlainTensor::bytes.
[[nodiscard]] std::string plain_sha256(const PlainTensor& tensor);

/// One tensor with all stages of `delta` applied. F32, F16 and BF16 only (kMismatch); a value that
/// leaves the finite range of the dtype is kNumeric.
[[nodiscard]] PlainTensor apply_to_tensor(const PlainTensor& base, const LedgerTensor& info,
                                          const DeltaTensor& factors, const Ledger& ledger);

/// A tensor that edits touch.
struct ChangedTensor {
  std::string name;
  PlainTensor original;  ///< before the very first edit
  PlainTensor edited;
};

/// A model with the edits it already carries (its own delta and undo file, where these still fit
/// its tensors) and those pushed on top.
struct EditStack {
  Delta delta;                                   ///< all edits, oldest first
  std::map<std::string, ChangedTensor> changed;  ///< one per tensor of `delta`
};
[[nodiscard]] EditStack open_stack(const ModelSource& source,
                                   std::optional<DType> dtype = std::nullopt);
/// Applies `delta` as further stages and returns the ids its edits got (made unique). The base hash
/// of each tensor must be that of the model's own tensor or of the stack's (kMismatch unless
/// force).
std::vector<std::string> push_delta(EditStack& stack, const ModelSource& source, const Delta& delta,
                                    std::string_view name, bool force,
                                    std::optional<DType> dtype = std::nullopt);
/// Values of a plain tensor as float32.
[[nodiscard]] std::vector<float> plain_values(const PlainTensor& tensor);
/// Frobenius norm, float64 in a fixed order.
[[nodiscard]] double plain_norm(const PlainTensor& tensor);

/// Writes MODEL with the tensors `changed` replaced, and `delta` and the original bytes beside it.
/// The one writer behind edit, apply and undo. A tensor that `delta` does not name is written but
/// not remembered.
[[nodiscard]] std::vector<WrittenFile> write_edited(const ModelSource& source, const fs::path& out,
                                                    const std::vector<ChangedTensor>& changed,
                                                    const Delta& delta, const ApplyOptions& options,
                                                    const Json& manifest);

}  // namespace lancet
