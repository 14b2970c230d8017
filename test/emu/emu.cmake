# The emulated GPUs. oss_emulated_cuda: the module of kernels/cuda. It is linked into oss_tests, or into a
# libgptoss_cuda that the addon opens ($<TARGET_OBJECTS:oss_emulated_cuda> and threads). oss_emulated_metal: the kernels
# of kernels/metal, and a Metal device, which replaces the one of this system where its objects are linked before oss_core.
# Both run on oss_emulator. If they are not available, OSS_EMULATED_GPU_ABSENT holds the reason.
# OSS_EMULATOR_TESTS are the tests of the emulators themselves. Included by test/CMakeLists.txt.
option(OSS_EMULATED_GPU "run the GPU kernels' tests on emulated GPUs" ON)
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64|aarch64|arm64")
  set(OSS_EMULATED_GPU_ABSENT "there is none for ${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR}")
elseif(NOT OSS_EMULATED_GPU)
  set(OSS_EMULATED_GPU_ABSENT "switched off with OSS_EMULATED_GPU")
elseif(OSS_SANITIZE MATCHES "thread")
  set(OSS_EMULATED_GPU_ABSENT "its fibers are beyond ThreadSanitizer")
endif()
if(OSS_EMULATED_GPU_ABSENT)
  return()
endif()

set(emu ${CMAKE_CURRENT_LIST_DIR})
add_library(oss_emulator OBJECT EXCLUDE_FROM_ALL ${emu}/fiber.cpp ${emu}/block.cpp ${emu}/guard.cpp
  ${emu}/static_shared.cpp ${emu}/symbols.cpp)

file(GLOB cuda_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/*.cu)
file(GLOB cuda_emulator CONFIGURE_DEPENDS ${emu}/*.cpp ${emu}/ptx/*.cpp)
list(FILTER cuda_emulator EXCLUDE REGEX "_test\\.cpp$|/(fiber|block|guard|static_shared|symbols)\\.cpp$")
add_library(oss_emulated_cuda OBJECT EXCLUDE_FROM_ALL ${cuda_kernels} ${cuda_emulator})
target_include_directories(oss_emulated_cuda BEFORE PRIVATE ${emu}/include)  # its ptx/ hides the one of kernels/cuda
target_compile_definitions(oss_emulated_cuda PRIVATE "OSS_CUDA_ARCHITECTURES=\"emulated\"")

file(GLOB metal_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/metal/*.metal)
file(GLOB metal_emulator CONFIGURE_DEPENDS ${emu}/metal/*.cpp)
list(FILTER metal_emulator EXCLUDE REGEX "_test\\.cpp$")
add_library(oss_emulated_metal OBJECT EXCLUDE_FROM_ALL ${metal_kernels} ${metal_emulator})
target_include_directories(oss_emulated_metal BEFORE PRIVATE ${emu}/metal/include)  # hides kernels/metal/lang.h

foreach(library oss_emulator oss_emulated_cuda oss_emulated_metal)
  target_compile_options(${library} PRIVATE -ftrivial-auto-var-init=pattern)  # a forgotten sum must not be zero
  target_compile_options(${library} PRIVATE -O2)  # with sanitizers too, because whole models run on it
endforeach()

# Like nvcc: the runtime's header is included first, and `#pragma unroll` is accepted.
file(GLOB cuda_emulator_tests CONFIGURE_DEPENDS ${emu}/*_test.cpp)
set_source_files_properties(${cuda_kernels} ${cuda_emulator_tests} PROPERTIES
  LANGUAGE CXX
  INCLUDE_DIRECTORIES ${emu}/include
  COMPILE_OPTIONS "-include;cuda_runtime.h;-Wno-unknown-pragmas")
# [[buffer(0)]] and the like are for Metal's compiler.
file(GLOB metal_emulator_tests CONFIGURE_DEPENDS ${emu}/metal/*_test.cpp)
set_source_files_properties(${metal_kernels} ${metal_emulator_tests} PROPERTIES
  LANGUAGE CXX
  INCLUDE_DIRECTORIES ${emu}/metal/include
  COMPILE_OPTIONS "-Wno-unknown-pragmas;-Wno-attributes")
set(OSS_EMULATOR_TESTS ${cuda_emulator_tests} ${metal_emulator_tests})
