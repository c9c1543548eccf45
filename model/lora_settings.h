#pragma once
// Where low-rank parts are put and how they begin, and what a model is given of them. No LibTorch
// here.

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lancet {

struct LowRank;
/// By the name of the module, as the Decoder's own weights are named (model/lora.h).
using LoraParts = std::unordered_map<std::string, std::shared_ptr<const LowRank>>;

/// kKaiming: A uniform in +-1 / sqrt(d_in), B zero (PEFT's default). kGaussian: A normal with
/// deviation 1 / rank, B zero. kPissa: the largest singular values of W and their vectors
/// (arXiv:2404.02948). kOlora: the first rows of R and columns of Q of W = Q R (arXiv:2406.01775).
/// The last two are taken off again where they begin, so that the model is what it was.
enum class LoraInit { kKaiming, kGaussian, kPissa, kOlora };

struct LoraSettings {
  /// Names that a module is or ends in after a dot; one expression that its whole name matches
  /// where `expression` is set; {"all-linear"}: all but experts, embeddings and head.
  std::vector<std::string> targets{"all-linear"};
  bool expression = false;
  std::vector<std::int64_t> layers;  ///< of the blocks, only these; empty = all
  std::int64_t rank = 16;            ///< >= 1
  double alpha = 32;                 ///< > 0
  double dropout = 0;                ///< [0, 1)
  bool rank_stabilised = false;      ///< scale alpha / sqrt(rank) instead of alpha / rank
  /// Expression -> value: a module whose name or whose end after a dot matches; the first one that
  /// does.
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  LoraInit init = LoraInit::kKaiming;
  /// kPissa: 0 = the exact decomposition; else subspace iterations of a random projection (PEFT's
  /// pissa_niter_N), for matrices whose decomposition takes too long.
  std::int64_t pissa_iterations = 0;
  /// Direction and magnitude apart (DoRA, arXiv:2402.09353): each row of W + scale B A is brought
  /// to a learned length (of embeddings each column, as PEFT has it). Not beside kPissa and kOlora.
  bool dora = false;
};

}  // namespace lancet
