// EngineImpl::prompt_states: what enters every layer for given texts.

#include <c10/core/InferenceMode.h>

#include "cli/engine/engine_impl.h"
#include "core/error.h"
#include "core/interrupt.h"

namespace lancet {
namespace {

/// value [1, tokens, d_model] -> the last token, or the mean over the tokens, in float64.
at::Tensor state_of(const at::Tensor& value, bool average) {
  const at::Tensor tokens = value.select(0, 0).to(at::kCPU, at::kDouble);
  return (average ? tokens.mean(0) : tokens.select(0, -1)).contiguous();
}

}  // namespace

std::vector<Matrix> EngineImpl::prompt_states(const fs::path& model,
                                              const std::vector<std::string>& prompts, bool average,
                                              const RuntimeOptions& runtime) {
  const LoadedModel loaded = load_model(model, runtime);
  const Decoder& decoder = loaded.decoder;
  const auto layers = decoder.spec().layers;
  const c10::InferenceMode inference;
  std::vector<Matrix> out;
  for (const std::string& prompt : prompts) {
    check_interrupted();
    const auto ids = loaded.tokenizer.encode(prompt).ids;
    if (ids.empty()) {
      fail(ErrorKind::kInput, "moe", "expected prompts of at least one token, found an empty one");
    }
    const at::Tensor tokens =
        at::tensor(at::ArrayRef<std::int32_t>(ids), at::kInt).to(at::kLong).unsqueeze(0);
    Matrix states;
    Pass pass;
    pass.hook = [&](std::int64_t layer, Place place, const at::Tensor& value) {
      if (place != Place::kBlockInput) return value;
      const at::Tensor state = state_of(value, average);
      if (states.values.empty())
        states = Matrix(static_cast<std::size_t>(layers), static_cast<std::size_t>(state.numel()));
      const auto row = states.row(static_cast<std::size_t>(layer));
      std::copy_n(state.const_data_ptr<double>(), row.size(), row.begin());
      return value;
    };
    // The last block's output is not asked for, but its input is.
    static_cast<void>(decoder.run(decoder.embed(tokens), 0, layers, pass));
    out.push_back(std::move(states));
  }
  return out;
}

}  // namespace lancet
