/* coefficients.h - written by tools/fit_polynomials.py; docs/stream.md says what each is. */
/* clang-format off */
#define LOG32_Q1 0x1.ffffd6p-1f
#define LOG32_Q2 -0x1.5554fap-1f
#define LOG32_Q3 0x1.00147ep-1f
#define LOG32_Q4 -0x1.99d426p-2f
#define LOG32_Q5 0x1.5032f4p-2f
#define LOG32_Q6 -0x1.1ea26cp-2f
#define LOG32_Q7 0x1.3b2818p-2f
#define LOG32_Q8 -0x1.1f420ep-2f
#define LOG32_E -0x1.62e430p-23f
#define SIN32_0 0x1.921fb4p+1f
#define SIN32_1 -0x1.4abba2p+2f
#define SIN32_2 0x1.466504p+1f
#define SIN32_3 -0x1.31fbf8p-1f
#define SIN32_4 0x1.391328p-4f
#define COS32_1 -0x1.3bd3ccp+2f
#define COS32_2 0x1.03c1d4p+2f
#define COS32_3 -0x1.55cd26p+0f
#define COS32_4 0x1.e0a1e2p-3f
#define COS32_5 -0x1.889fe4p-6f
#define SIN64_0 0x1.921fb54442d18p+1
#define SIN64_1 -0x1.4abbce625be38p+2
#define SIN64_2 0x1.466bc67759f13p+1
#define SIN64_3 -0x1.32d2cce5e0b89p-1
#define SIN64_4 0x1.5078346808027p-4
#define SIN64_5 -0x1.e307404cec64ep-8
#define SIN64_6 0x1.e8efc4795cccep-12
#define SIN64_7 -0x1.6ef795889ca58p-16
#define SIN64_8 0x1.8e0c67531745dp-21
#define COS64_1 -0x1.3bd3cc9be45dep+2
#define COS64_2 0x1.03c1f081b5a96p+2
#define COS64_3 -0x1.55d3c7e3ca056p+0
#define COS64_4 0x1.e1f50687c858fp-3
#define COS64_5 -0x1.a6d1f223fce55p-6
#define COS64_6 0x1.f9d3537f614a6p-10
#define COS64_7 -0x1.b6d471cfcb0bdp-14
#define COS64_8 0x1.1edb48610f502p-18
#define COS64_9 -0x1.dc8d4fde9a22bp-24
#define CUT32_END 0x1.d277bcp-3f
#define CUT32_N0 0x1.0c340cp+2f
#define CUT32_N1 0x1.cb3422p+7f
#define CUT32_N2 0x1.944e7ep+11f
#define CUT32_N3 0x1.57c8dap+13f
#define CUT32_N4 0x1.0777f6p+12f
#define CUT32_D1 0x1.f25d82p+5f
#define CUT32_D2 0x1.0cfe80p+10f
#define CUT32_D3 0x1.4810cep+12f
#define CUT32_D4 0x1.29eca2p+12f
#define TAIL32_START 0x1.2d6abep+0f
#define TAIL32_N0 0x1.79c50ap+0f
#define TAIL32_N1 0x1.9613d0p+0f
#define TAIL32_N2 0x1.dc53f6p-2f
#define TAIL32_N3 0x1.24fef2p-5f
#define TAIL32_D1 0x1.3d2cb6p+0f
#define TAIL32_D2 0x1.b2bb9cp-2f
#define TAIL32_D3 0x1.24d292p-5f
/* FreeBSD e_log.c */
#define LOG64_1 0x1.5555555555593p-1
#define LOG64_2 0x1.999999997fa04p-2
#define LOG64_3 0x1.2492494229359p-2
#define LOG64_4 0x1.c71c51d8e78afp-3
#define LOG64_5 0x1.7466496cb03dep-3
#define LOG64_6 0x1.39a09d078c69fp-3
#define LOG64_7 0x1.2f112df3e5244p-3
#define LN2_HIGH 0x1.62e42fee00000p-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LN2 0x1.62e42fefa39efp-1
#define TWO_PI 0x1.921fb54442d18p+2
#define HALF_LN_TWO_PI 0x1.d67f1c864beb5p-1
/* AS 241, PPND16 */
#define AS241_A \
    {0x1.b18d91e9eef75p+1, 0x1.0a4888b1a436ep+7, 0x1.ece5d2213c0ccp+10, 0x1.ad1d8cd4ee71dp+13, 0x1.66c3e869b752ap+15, 0x1.06c1c55b78f20p+16, 0x1.052d26b2e45e4p+15, 0x1.39a296f7d925ep+11}
#define AS241_B \
    {0x1.0000000000000p+0, 0x1.5281b386e1ab5p+5, 0x1.5797efdc8b3f7p+9, 0x1.512322e75c89fp+12, 0x1.4b772d5d65266p+14, 0x1.3317caa64f4bep+15, 0x1.c0e457cb1ae76p+14, 0x1.46a7eca984b69p+12}
#define AS241_C \
    {0x1.6c665fde9526ap+0, 0x1.2857748cab19bp+2, 0x1.713f71462256ap+2, 0x1.d2ecb1a3d02c4p+1, 0x1.453cc085375b2p+0, 0x1.ef2abb9b85c37p-3, 0x1.744eb6c45ec67p-6, 0x1.9615ac0b7ace9p-11}
#define AS241_D \
    {0x1.0000000000000p+0, 0x1.06cefbb46a449p+1, 0x1.ad278e6526633p+0, 0x1.61292f23385c9p-1, 0x1.2f5123394f040p-3, 0x1.f207a7eab17bfp-7, 0x1.1f18cbfdf2728p-11, 0x1.20d3f686439e4p-30}
#define AS241_E \
    {0x1.aa1b1c13ee526p+2, 0x1.5daea6e875003p+2, 0x1.c8ea6461fa445p+0, 0x1.2fad9315255cfp-2, 0x1.b2b41193b4ee7p-6, 0x1.45c1908425345p-10, 0x1.c6ec6cc59e02ap-16, 0x1.afb74d693bf93p-23}
#define AS241_F \
    {0x1.0000000000000p+0, 0x1.331d34fc7d77fp-1, 0x1.186eb183443fbp-3, 0x1.e76f93215462ap-7, 0x1.9c8bc979dc5d7p-11, 0x1.35c2c496374bfp-16, 0x1.31446f740b9e0p-23, 0x1.269bff1f8c190p-49}
