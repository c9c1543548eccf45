// `lancet locate trace`.
#include "surgery/locate/corrupted.h"
#include "surgery/locate/trace.h"

namespace lancet {
namespace {

std::vector<TraceKind> wanted_kinds(const LocateRequest& request) {
  std::vector<TraceKind> out;
  for (const std::string& kind : request.kinds) out.push_back(trace_kind(kind));
  if (out.empty()) out = {TraceKind::kHidden, TraceKind::kMlp, TraceKind::kAttention};
  return out;
}

Json work_json(const TraceWork& work) {
  const auto times = [](std::int64_t plain, std::int64_t own) {
    return static_cast<double>(plain) / static_cast<double>(own);
  };
  return {{"layer_calls", work.layer_calls},
          {"plain_layer_calls", work.plain_layer_calls},
          {"fewer_calls", times(work.plain_layer_calls, work.layer_calls)},
          {"token_layers", work.token_layers},
          {"plain_token_layers", work.plain_token_layers},
          {"fewer_token_layers", times(work.plain_token_layers, work.token_layers)}};
}

}  // namespace

Located locate_trace(const SurgeryModel& model, const LocateRequest& request,
                     const RuntimeOptions& runtime) {
  const std::vector<TraceKind> kinds = wanted_kinds(request);
  TraceWork work;
  Progress progress("tracing", 0, Progress::Unit::kItems);
  Located out =
      locate_corrupted(model, request, runtime, [&](const LocatePrompt& prompt, const Runs& runs) {
        const Trace trace =
            trace_states(model.decoder, prompt, runs, kinds, request.window, &progress);
        work.add(trace.work);
        FactMaps maps;
        for (const TraceMap& map : trace.maps)
          maps.maps.push_back({std::string(trace_kind_name(map.kind)), map.window, map.scores,
                               map.scores - runs.low, nullptr});
        return maps;
      });
  progress.finish();
  out.json["work"] = work_json(work);
  return out;
}

}  // namespace lancet
