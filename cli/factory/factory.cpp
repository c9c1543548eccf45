// The far side of cli/factory.h.

#include "cli/factory.h"

#include "core/error.h"

namespace lancet {
namespace {

class FactoryInstance final : public Factory {
 public:
  Json synthesize(const SynthesizeRequest&) override {
    fail(ErrorKind::kInternal, "synthesize", "not built yet");
  }
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
