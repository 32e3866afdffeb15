# Included where llama.cpp begins: its server and its quantizer become part of the wheel of llama-cpp-python,
# which would build neither. They land in bin/, what they are linked with in lib/ and llama_cpp/lib/.
set(LLAMA_TOOLS_INSTALL ON)
set(LLAMA_OPENSSL OFF)
set(LLAMA_USE_PREBUILT_UI OFF)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib;$ORIGIN/../llama_cpp/lib")
foreach(tool ui server quantize)
    add_subdirectory(tools/${tool})
endforeach()
