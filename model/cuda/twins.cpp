#include "model/cuda/twins.h"

#include <array>

#include "model/cuda/cross_entropy_rows.h"
#include "model/cuda/norm_rows.h"
#include "model/cuda/rope_rows.h"
#include "model/cuda/swiglu_rows.h"
#include "model/intraop.h"

namespace lancet::fused {
namespace {

/// Its threads run one after another, so that the end of each() is a barrier.
template <int kSize>
class HostTeam {
 public:
  static constexpr int kThreads = kSize;

  Two* slots() { return slots_.data(); }
  void barrier() const {}
  template <class Body>
  void each(const Body& body) const {
    for (int t = 0; t < kSize; ++t) body(t);
  }

 private:
  std::array<Two, static_cast<std::size_t>(kSize)> slots_{};
};

template <class Job>
int run(const Job* job, void*) {
  return choose(*job, [job](auto choice) {
    intraop_for(job->rows, [job, choice](std::int64_t row) {
      HostTeam<decltype(choice)::kThreads> team;
      run_row(choice, team, *job, row);
    });
    return 0;
  });
}

}  // namespace

const Kernels twins{.rms_norm = &run<RmsNorm>,
                    .rms_norm_backward = &run<RmsNormBackward>,
                    .rotate = &run<Rotation>,
                    .swiglu = &run<Swiglu>,
                    .swiglu_backward = &run<SwigluBackward>,
                    .cross_entropy = &run<CrossEntropy>};

}  // namespace lancet::fused
