// `lancet locate patch`.
#include <cmath>

#include "core/error.h"
#include "surgery/locate/attribution.h"
#include "surgery/locate/corrupted.h"

namespace lancet {
namespace {

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

bool wanted(const LocateRequest& request, TraceKind kind) {
  return request.kinds.empty() ||
         std::ranges::find(request.kinds, trace_kind_name(kind)) != request.kinds.end();
}

}  // namespace

Located locate_patch(const SurgeryModel& model, const LocateRequest& request,
                     const RuntimeOptions& runtime) {
  for (const std::string& kind : request.kinds) {
    if (trace_kind(kind) > TraceKind::kAttention)
      fail(ErrorKind::kUsage, "locate", "--kind of patch: expected hidden, mlp or attention",
           "severed kinds need the exact trace");
  }
  Located out =
      locate_corrupted(model, request, runtime, [&](const LocatePrompt& prompt, const Runs& runs) {
        FactMaps maps;
        for (const Attribution& one :
             attribute_states(model.decoder, prompt, runs, request.steps)) {
          if (!wanted(request, one.kind)) continue;
          Json notes;
          if (request.exact) {
            const Trace trace =
                trace_states(model.decoder, prompt, runs, std::span(&one.kind, 1), 1);
            const at::Tensor exact = trace.maps.front().scores - runs.low;
            const Agreement how = agreement(one.effect, exact);
            notes = {{"exact", matrix_json(exact)},
                     {"agreement",
                      {{"pearson", number(how.pearson)},
                       {"spearman", number(how.spearman)},
                       {"top_overlap", how.top_overlap}}}};
          }
          maps.maps.push_back(
              {std::string(trace_kind_name(one.kind)), 1, one.effect, one.effect, notes});
        }
        return maps;
      });
  out.json["steps"] = request.steps;
  return out;
}

}  // namespace lancet
