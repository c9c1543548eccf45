// The far side of cli/factory.h.

#include "cli/factory.h"

#include "core/error.h"
#include "distill/curate.h"
#include "distill/filter.h"

namespace lancet {
namespace {

class FactoryInstance final : public Factory {
 public:
  Json synthesize(const SynthesizeRequest&) override {
    fail(ErrorKind::kInternal, "synthesize", "not built yet");
  }
  Json filters() override { return filters_json(); }
  Json curate(const CurateRequest& request) override { return lancet::curate(request); }
};

}  // namespace
}  // namespace lancet

extern "C" lancet::Factory* lancet_factory_instance() {
  static lancet::FactoryInstance instance;
  return &instance;
}
