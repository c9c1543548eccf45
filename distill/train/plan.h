#pragma once
// What a run needs: memory, and from that whether states are kept or computed again; time.

#include <cstdint>
#include <string_view>

#include "core/json.h"
#include "distill/losses/loss.h"
#include "distill/train/dataset.h"
#include "distill/train/requests.h"
#include "model/decoder.h"
#include "model/lora.h"
#include "model/spec.h"

namespace lancet {

struct TrainPlan {
  std::uint64_t weights = 0;     ///< of the base, in bytes
  std::uint64_t adapter = 0;     ///< values, gradients, states of the optimizer
  std::uint64_t states = 0;      ///< kept for the backward pass
  std::uint64_t working = 0;     ///< head and loss, merged weights, gradients on their way
  std::uint64_t program = 0;     ///< libraries, allocator, tokenizer
  std::uint64_t limit = 0;       ///< what the run may take
  std::int64_t layers_kept = 0;  ///< as Student has it
  double seconds = 0;            ///< of the whole run; 0 unless a plan was asked for, which
                                 ///< measures how fast layers are here and now
  double tokens_per_second = 0;  ///< as `seconds`

  [[nodiscard]] std::uint64_t peak() const {
    return weights + adapter + states + working + program;
  }
  [[nodiscard]] Json json() const;
};

struct PlanInput {
  const ModelSource& source;
  const LoadOptions& options;
  const DecoderSpec& spec;
  const LoraAdapter& adapter;
  const Loss& loss;
  const Dataset& data;
  const TrainRequest& request;
  const ModelSource* teacher = nullptr;  ///< that runs beside the student
  std::int64_t tokens = 0;               ///< of the whole run, about
};

/// kUsage for a word that is none of request.checkpointing.
void check_checkpointing(std::string_view mode);

/// kResource where even the least does not fit into request.memory.
[[nodiscard]] TrainPlan plan_training(const PlanInput& input);

}  // namespace lancet
