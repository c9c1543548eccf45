#pragma once
// Token transplant: a model that speaks another model's vocabulary. Tokens that both spell alike
// keep the model's rows; the others get rows made of them (Goddard, Fernandes Neto 2025,
// arXiv:2506.06607). Layers are copied.
//   omp      donor's row of the token = sum of c_i donor's rows of shared tokens (merge/pursuit.h);
//            its row = sum of c_i model's rows of the same tokens
//   subword  mean, sum, first or last of the rows of the tokens that the model's own tokenizer
//            makes of its text
//   mean     mean of all rows of the model
// The head of an untied model is made likewise, from the donor's head (from its embedding where it
// ties them). Precision: float64, rounded once.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/model_writer.h"
#include "merge/graft_tokens.h"
#include "merge/pursuit.h"

namespace lancet {

enum class GraftMethod { kOmp, kSubword, kMean };
enum class SubwordRule { kMean, kSum, kFirst, kLast };
/// Tables that something holds for.
enum class GraftTables { kNone, kEmbedding, kHead, kBoth };

struct GraftOptions {
  GraftMethod method = GraftMethod::kOmp;
  PursuitOptions pursuit;
  SubwordRule subword = SubwordRule::kMean;
  GraftTables prefix = GraftTables::kNone;  ///< new tokens take the row of their longest prefix
  bool match_bytes = true;
  std::map<std::string, std::string> given;  ///< donor's piece -> model's piece
  std::int64_t pad_to = 0;                   ///< rows a multiple of it; 0: as many as the donor has
  std::uint64_t memory = 1ULL << 30;
  std::optional<DType> dtype;
};

/// Rows of the result as sums of rows of the model.
struct RowSums {
  struct Term {
    std::uint32_t row = 0;
    double weight = 1;
  };
  static constexpr std::uint32_t kMean = UINT32_MAX;  ///< as row: the mean of all rows
  std::vector<std::uint64_t> starts{0};               ///< rows + 1 offsets into `terms`
  std::vector<Term> terms;
  std::vector<double> residuals;  ///< of the row in the donor's space; -1 where nothing was fitted

  void add(std::span<const Term> row, double residual);
  void reserve(std::size_t rows, std::size_t terms);
};

class Graft {
 public:
  /// Headers and tokenizers. kMismatch for models whose vocabulary cannot be exchanged, kInput
  /// without a tokenizer, kUsage for `given` that names no token.
  Graft(const fs::path& model, const fs::path& donor, GraftOptions options);

  /// {tokens, rows, shared, special, given, made, padding, atoms, tables, bytes}.
  [[nodiscard]] Json plan() const;
  /// What solve() and the making of rows in tensors() will take, from a trial of both.
  [[nodiscard]] double seconds() const;
  /// The peak of the process until the result is written, beside what it holds now.
  [[nodiscard]] std::uint64_t expected_memory() const;
  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] std::uint64_t bytes_read() const;  ///< files of both models

  /// Finds the rows of new tokens: the long part, with a progress bar.
  void solve();
  /// After solve(): {embedding: {mean, median, worst: [{token, id, residual}]}, head: ...} of what
  /// was fitted, null for other methods.
  [[nodiscard]] Json residuals() const;
  /// After solve(): a line of JSON for each token of the result: {id, token, origin, embedding:
  /// {from: [{token, weight}], residual}, head?}.
  [[nodiscard]] std::string report() const;
  /// Valid as long as this.
  [[nodiscard]] std::vector<OutputTensor> tensors() const;
  [[nodiscard]] const std::map<std::string, std::string>& side_files() const noexcept {
    return side_files_;
  }
  /// Keys of config.json that named tokens which the donor does not have.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  /// A token table and what its rows are made of.
  struct Table {
    const char* name = "";              ///< "embedding" or "head"
    const TensorInfo* model = nullptr;  ///< [vocab, width]
    const TensorInfo* donor = nullptr;
    const TensorInfo* bias = nullptr;  ///< [vocab], of the model's head
    bool prefix = false;
    RowSums sums;
  };

  GraftOptions options_;
  ModelSource model_, donor_;
  TokenTable model_tokens_, donor_tokens_;
  std::vector<TokenMatch> matches_;
  std::vector<Table> tables_;
  std::vector<std::uint32_t> atoms_;    ///< donor's ids of shared tokens
  std::vector<std::uint32_t> targets_;  ///< donor's ids of tokens that are fitted
  std::int64_t rows_ = 0;
  std::map<std::string, std::string> side_files_;
  std::vector<std::string> warnings_;

  void find_tables();
  void choose_rows();
  [[nodiscard]] std::map<std::string, std::string> make_side_files();
  [[nodiscard]] std::optional<std::uint32_t> prefix_of(const Table& table, std::size_t id) const;
  [[nodiscard]] std::vector<RowSums::Term> unfitted_row(const Table& table, std::size_t id) const;
  [[nodiscard]] std::vector<std::uint32_t> targets_of(const Table& table) const;
  void solve_table(Table& table, const std::function<void(std::size_t)>& progress) const;
  [[nodiscard]] std::vector<RowSums::Term> made_row(std::size_t id) const;
  [[nodiscard]] OutputTensor output(const Table& table, const TensorInfo& tensor) const;
  [[nodiscard]] double making_seconds(const Table& table) const;
  [[nodiscard]] std::uint64_t solving_memory(const Table& table) const;
  [[nodiscard]] std::uint64_t writing_memory(const Table& table) const;
};

/// config.json and generation_config.json of `files` with the vocabulary of the donor.
void graft_config(std::map<std::string, std::string>& files, const ModelSource& donor,
                  const TokenTable& model_tokens, const TokenTable& donor_tokens, std::int64_t rows,
                  std::vector<std::string>& warnings);

}  // namespace lancet
