// The far side of cli/factory.h.

#include "cli/factory.h"

#include "core/error.h"
#include "distill/recipe.h"
#include "distill/synthesize.h"

namespace lancet {
namespace {

class FactoryInstance final : public Factory {
 public:
  Json synthesize(const SynthesizeRequest& request) override { return lancet::synthesize(request); }
  Json recipes() override { return describe_data_recipes(); }
  Json curate(const CurateRequest&) override {
    fail(ErrorKind::kInternal, "curate", "not built yet");
  }
};

}  // namespace
}  // namespace lancet

extern "C" lancet::Factory* lancet_factory_instance() {
  static lancet::FactoryInstance instance;
  return &instance;
}
