#pragma once
// Causal tracing (Meng et al. 2022, arXiv:2202.05262, section 2). Noise on the subject makes the
// answer unlikely; one clean state is put back, and how much of p(answer) returns is written into a
// cell (token, layer).
//   hidden            the state leaving block `layer` at `token`
//   mlp, attention    the outputs of the module at `token` in `window` layers around `layer`:
//                     [layer - window / 2, layer - window / 2 + window), cut at the ends
//   severed_mlp,      as hidden, but the module's output at `token` in all layers above keeps its
//   severed_attention corrupted value: what the state does without that module's help
// A cell costs only what it can change: the layers above the first restored one, the tokens from
// `token` on (keys and values of the earlier ones come from the corrupted run). All layers, kinds
// and samples of one token share a batch, which grows from layer to layer as states are put back.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>

#include "core/progress.h"
#include "surgery/locate/runs.h"

namespace lancet {

enum class TraceKind { kHidden, kMlp, kAttention, kSeveredMlp, kSeveredAttention };
inline constexpr std::string_view kTraceKinds[] = {"hidden", "mlp", "attention", "severed_mlp",
                                                   "severed_attention"};
/// kUsage with "did you mean" for another word.
[[nodiscard]] TraceKind trace_kind(std::string_view name);
[[nodiscard]] std::string_view trace_kind_name(TraceKind kind);

struct TraceMap {
  TraceKind kind = TraceKind::kHidden;
  std::int64_t window = 1;
  at::Tensor scores;  ///< float64 [tokens, layers]: mean p(target) over the samples
};

/// What was computed, and what one full pass for each cell (with the clean row in its batch, as
/// published) would have computed.
struct TraceWork {
  std::int64_t layer_calls = 0;   ///< batches sent through one block
  std::int64_t token_layers = 0;  ///< tokens sent through one block
  std::int64_t plain_layer_calls = 0;
  std::int64_t plain_token_layers = 0;
  void add(const TraceWork& other);
};

struct Trace {
  std::vector<TraceMap> maps;
  TraceWork work;
};

/// `chunk_bytes` bounds the batch (states, keys and values). Counts cells in `progress` where
/// given.
[[nodiscard]] Trace trace_states(const Decoder& model, const LocatePrompt& prompt, const Runs& runs,
                                 std::span<const TraceKind> kinds, std::int64_t window,
                                 Progress* progress = nullptr,
                                 std::int64_t chunk_bytes = 512LL << 20);

/// First and behind-last layer that a cell restores.
[[nodiscard]] std::pair<std::int64_t, std::int64_t> restored_layers(TraceKind kind,
                                                                    std::int64_t layer,
                                                                    std::int64_t window,
                                                                    std::int64_t layers);

}  // namespace lancet
