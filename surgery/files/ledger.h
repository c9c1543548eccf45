#pragma once
// The ledger of an edited model: which facts were written, by which method with which values, into
// which columns of which factors. It travels as JSON in the metadata of delta and undo files.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"
#include "model/architecture.h"

namespace lancet {

/// One edit of one fact.
struct EditRecord {
  std::string id;  ///< unique in the ledger
  /// Edits of one stage are added to the weights in one sum and rounded once; stages follow each
  /// other.
  std::int64_t stage = 0;
  Json fact;     ///< our own form of the fact
  Json metrics;  ///< probes before and after, relative norms; may be null
  /// Columns [first, last) of the factors of a tensor.
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> columns;
  double residual = 0;  ///< relative residual of the linear system
  std::vector<float>
      value;  ///< v* or z [d_model]; empty = the method has none. In delta files only
  std::map<std::string, std::vector<float>> keys;  ///< k* [d_in] by tensor. In delta files only
};

/// What one call of an editor did.
struct StageRecord {
  std::string method;
  Json parameters;
  std::uint64_t seed = 0;
  std::vector<std::int64_t> layers;
  Json covariance;  ///< identity of the second moments, or null
  std::vector<std::string> contexts;
  std::string created_by;  ///< "lancet 0.1.0"
  Json notes;
  std::int64_t batch = 0;                ///< facts that were written together; 0 = all
  std::string covariance_from = "auto";  ///< auto, none, or the file's path
  bool joint = false;    ///< the columns are of all its edits together and stand under the first
  bool follows = false;  ///< it was computed on the model with the stages before it
};

/// An edited tensor and the base it was computed on.
struct LedgerTensor {
  std::string name;  ///< Hugging Face name
  std::int64_t layer = 0;
  MatrixLayout layout = MatrixLayout::kOutIn;
  std::int64_t d_out = 0, d_in = 0;
  std::string base_dtype;   ///< "F32", ...: stored dtype of the base, F32 for a quantised one
  std::string base_sha256;  ///< of the base's plain bytes (plain_sha256)
  std::vector<double> base_sketch;  ///< sketch_plain() of the base; empty in old files
};

struct Ledger {
  std::string tokenizer_sha256;  ///< of tokenizer.json's canonical text; "" = unknown
  std::vector<StageRecord> stages;
  std::vector<LedgerTensor> tensors;  ///< sorted by name
  std::vector<EditRecord> edits;      ///< in order of application

  [[nodiscard]] const LedgerTensor* find_tensor(std::string_view name) const noexcept;
  [[nodiscard]] const EditRecord* find_edit(std::string_view id) const noexcept;
};

[[nodiscard]] Json ledger_to_json(const Ledger& ledger);
/// Throws kInput naming `source` and the key.
[[nodiscard]] Ledger ledger_from_json(const Json& json, std::string_view source);

/// "out_in" / "in_out".
[[nodiscard]] std::string_view layout_name(MatrixLayout layout) noexcept;

}  // namespace lancet
