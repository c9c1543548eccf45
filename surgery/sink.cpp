#include "surgery/sink.h"

#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "surgery/contexts.h"
#include "surgery/key.h"

namespace lancet {

double sink_limit(const Parameters& parameters) {
  return parameters.number_or("sink", is_sampled(parameters) ? 2 : 0);
}

std::int64_t layer_below_sink(const Decoder& model, const FactRows& fact, std::int64_t layer,
                              double limit) {
  const std::int64_t count = std::ssize(fact.rewriting);
  if (limit == 0 || count < 2 || fact.rewriting.front().lookup > 0) return layer;
  const c10::AutoGradMode no_gradient(false);
  std::vector<PromptRow> rows = fact.rewriting;
  for (PromptRow& row : rows) row.ids.resize(static_cast<std::size_t>(row.lookup) + 1);
  Pass pass;
  const at::Tensor ids = pad_rows(rows, 0, count, pass.lengths).to(model.options().device());
  at::Tensor hidden = model.embed(ids);
  std::int64_t found = layer;
  for (std::int64_t l = 0; l <= layer; ++l) {
    hidden = model.run(hidden, l, l + 1, pass);
    if (!model.spec().layer[static_cast<std::size_t>(l)].mlp) continue;
    double others = 0;
    for (std::int64_t r = 1; r < count; ++r)
      others += hidden[r][rows[static_cast<std::size_t>(r)].lookup].norm().item<double>();
    if (hidden[0][0].norm().item<double>() <= limit * others / static_cast<double>(count - 1))
      found = l;
  }
  return found;
}

}  // namespace lancet
