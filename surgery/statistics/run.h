#pragma once
// `lancet covariance`.

#include "core/json.h"
#include "model/requests.h"
#include "surgery/statistics/requests.h"

namespace lancet {

/// The JSON of `covariance --json` or, with request.plan, of --plan (headers only). A killed run
/// leaves OUT.partial, from which the same command goes on.
[[nodiscard]] Json run_covariance(const CovarianceRequest& request, const RuntimeOptions& runtime);

}  // namespace lancet
