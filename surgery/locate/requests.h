#pragma once
// What the command line asks of `locate`. No LibTorch here.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "surgery/requests.h"

namespace lancet {

struct LocateRequest {
  std::string what;  ///< trace, patch, lens, sweep, neurons
  fs::path model;
  /// One fact: `prompt` with "{}" for the subject, or with the subject in it exactly once; the lens
  /// needs no subject. An empty target of trace, patch, lens and neurons means: the model's own
  /// next token.
  std::vector<Fact> facts;
  bool batch = false;  ///< the facts come from a file: averages by token role

  // trace and patch
  std::vector<std::string> kinds;  ///< names of trace.h; empty = hidden, mlp, attention
  std::int64_t window = 10;        ///< layers restored together, for mlp and attention
  std::int64_t samples = 10;       ///< corrupted copies
  double noise = 3;                ///< standard deviation of the corruption in units of sigma
  double sigma = 0;                ///< 0 = measured: embeddings of subjects
  bool all_facts = false;          ///< keep facts whose answer the model does not give
  // patch
  std::int64_t steps = 1;  ///< 1 = gradient at the corrupted run; more: integrated gradients
  bool exact = false;      ///< compare with exact patching, one layer at a time
  // lens
  std::int64_t top = 5;
  // sweep
  std::string layers = "all";  ///< all, auto (the candidates of edit --layers auto), 5, 4-8
  std::string method = "rome";
  // neurons
  std::int64_t integration_steps = 20;
  double threshold = 0.2;  ///< of the largest attribution of a prompt
  double share = 0.4;      ///< of the prompts that must agree on a unit
  std::int64_t most = 20;  ///< units kept, at most

  std::optional<fs::path> report, npz;
};

}  // namespace lancet
