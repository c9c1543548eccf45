// url_origin of distill/teacher/http.h.

#include <curl/curl.h>

#include "distill/teacher/http.h"

namespace lancet {

std::string url_origin(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> handle(curl_url(), &curl_url_cleanup);
  if (!handle || curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return {};
  const auto part = [&handle](CURLUPart which, unsigned flags) {
    char* text = nullptr;
    if (curl_url_get(handle.get(), which, &text, flags) != CURLUE_OK) return std::string();
    std::string out(text);
    curl_free(text);
    return out;
  };
  const std::string scheme = part(CURLUPART_SCHEME, 0);
  if ((scheme != "http" && scheme != "https") || !part(CURLUPART_USER, 0).empty() ||
      !part(CURLUPART_PASSWORD, 0).empty() || !part(CURLUPART_FRAGMENT, 0).empty())
    return {};
  return scheme + "://" + part(CURLUPART_HOST, 0) + ":" + part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

}  // namespace lancet
